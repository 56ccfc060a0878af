"""BPT-VLM: black-box prompt tuning for vision-language model as a service.

Yu, Chen, Yao, Sun, Wang, Huang. IJCAI 2023, https://www.ijcai.org/proceedings/2023/187
Text and visual tokens from two random subspaces, tuned together by CMA-ES. Values of the comparison in ZIP
(ICLR 2025). Fitness is the mean loss of one pass over the train set, each batch of it a query; the best
candidate of all is deployed (the port in ZIP's repository keeps a best by its first batch alone).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.method import Method
from bench.optim import CMAES
from bench.prompt import Prompt

PATCH_WEIGHTS = (
    3072  # weights of one ViT-B/32 patch filter (3 x 32 x 32), the authors' scale for every backbone
)


@dataclass(frozen=True)
class Params:
    """4,000 parameters, whatever the backbone."""

    text_tokens: int = 5
    visual_tokens: int = 5
    text_dim: int = 2000  # length of v_L
    visual_dim: int = 2000  # length of v_V
    population: int = 15
    sigma: float = 1.0
    separable: bool = False  # full covariance: 0.2 s and 0.4 GB a generation at 4,000 parameters


class BPTVLM(Method):
    title = "BPT-VLM"
    paper = "Yu et al., IJCAI 2023"
    access = ("text context", "visual tokens")
    Params = Params

    def setup(self) -> None:
        """A_L with std s / (sqrt(dim) sigma); A_V with mean mu 3072 / dim, std t sqrt(3072 / dim) sigma.

        s: std of the token embeddings; mu, t: mean and std of the patch embedding's weights.
        """
        p, spec = self.params, self.box.spec
        if spec.vision_width is None:
            raise ValueError("this backbone's image tower takes no visual tokens")
        text, visual = p.text_tokens * spec.text_width, p.visual_tokens * spec.vision_width
        ratio = PATCH_WEIGHTS / p.visual_dim
        self.A_L = self.normal(text, p.text_dim, std=spec.token_std / (p.text_dim**0.5 * p.sigma))
        self.A_V = self.normal(visual, p.visual_dim, std=spec.patch_std * ratio**0.5 * p.sigma)
        self.A_V += spec.patch_mean * ratio

    @property
    def n_params(self) -> int:
        return self.params.text_dim + self.params.visual_dim

    def start(self) -> Tensor:
        return torch.zeros(self.n_params, device=self.box.device)

    def prompt(self, state: Tensor) -> Prompt:
        v_L, v_V = state.split([self.params.text_dim, self.params.visual_dim])
        context = (self.A_L @ v_L).view(self.params.text_tokens, -1)
        tokens = (self.A_V @ v_V).view(self.params.visual_tokens, -1)
        return Prompt(context=context, tokens=tokens, state=state)

    def tune(self) -> None:
        p = self.params
        es = CMAES(self.x0, self.seed, sigma=p.sigma, population=p.population, separable=p.separable)
        while True:
            es.tell(self.box.pass_loss([self.prompt(v) for v in es.ask()]))
            self.box.report(self.prompt(es.best))
