"""`bench serve`: a prediction API of one's own, metered and with an API's faults."""

import re
from importlib.util import find_spec

import click

from bench.answered import DEFAULT, FORMS
from bench.errors import UserError

NEEDED = ("starlette", "uvicorn")


@click.command()
@click.option(
    "--backbone",
    default="mini",
    show_default=True,
    help="mini, or an open_clip model and its weights, e.g. ViT-B-16/openai.",
)
@click.option("--answers", default=DEFAULT, show_default=True, help=f"How much is answered: {FORMS}.")
@click.option("--features", is_flag=True, help="Also serve /encode, which answers with features.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: a free one.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="NAME:QUERIES",
    help="A key with a meter of its own; the key itself is read from $BENCH_KEY_NAME. Can be repeated. "
    "Without it, everybody may ask.",
)
@click.option("--rate", help="Requests per second and key, e.g. 50/s. Default: no limit.")
@click.option("--latency", default="0ms", show_default=True, help="Added to every answer, e.g. 40ms.")
@click.option(
    "--faults",
    type=click.FloatRange(0, 0.9),
    default=0.0,
    show_default=True,
    help="Share of the requests that are refused (429, 503), cut off or answered slowly.",
)
@click.option("--seed", default=0, show_default=True, help="Of the faults.")
@click.option("--price", type=click.FloatRange(0), default=0.0, help="Dollars for 1,000 images on the meter.")
@click.option("--precision", default=None, help="As in bench run. Default: float64 for mini, else float32.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--offline", is_flag=True, help="Do not download weights.")
def serve(
    backbone: str,
    answers: str,
    features: bool,
    host: str,
    port: int,
    keys: tuple[str, ...],
    rate: str | None,
    latency: str,
    faults: float,
    seed: int,
    price: float,
    precision: str | None,
    device: str,
    offline: bool,
) -> None:
    """Serve a model as a prediction API, for this machine alone unless --host says otherwise.

    Routes: /v2 (Open Inference Protocol), /hf/models/clip (Hugging Face's zero-shot image classification),
    /rank (CLIP-API-service), /v1 (an OpenAI-compatible vision chat that answers with the label), /meter (what
    a key has used). See docs/serve.md.

    \b
    Examples:
      bench serve --backbone mini --answers probs:4
      BENCH_KEY_DEMO=secret bench serve --key demo:5000 --rate 50/s --latency 40ms --faults 0.02 --price 1.0
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UserError(
            f'bench serve needs {" and ".join(missing)}: pip install "blackbox-prompt-bench[serve]".'
        )
    from bench.answered import parse
    from bench.data.images import View
    from bench.models import load_backbone
    from bench.serve.app import Manners, make_app
    from bench.serve.keys import accounts_of
    from bench.serve.model import Model
    from bench.serve.run import listen, run

    level = parse(answers)
    if features and level.kind != "logits":
        raise UserError(f"--features come with logits only: leave out --answers {answers}.")
    manners = Manners(per_second(rate), seconds(latency), faults, seed)
    accounts = accounts_of(keys, price)
    place = listen(host, port)
    loaded = load_backbone(
        backbone, device, precision or ("float64" if backbone == "mini" else "float32"), offline
    )
    view = View(loaded.image_size, loaded.resize_mode, loaded.interpolation)
    model = Model(loaded.warm(), level, view)
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"{backbone} answers with {level} at http://{shown}:{place.getsockname()[1]}")
    run(make_app(model, accounts, manners, features), place)


def per_second(text: str | None) -> float | None:
    """'50/s' or '50' -> 50.0. Raises UserError."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:/s)?", text.strip())
    if not found or not float(found[1]) > 0:
        raise UserError(f"--rate {text}: write requests per second, e.g. 50/s.")
    return float(found[1])


def seconds(text: str) -> float:
    """'40ms' or '0.04s' -> 0.04. Raises UserError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", text.strip())
    if not found:
        raise UserError(f"--latency {text}: write milliseconds or seconds, e.g. 40ms.")
    return float(found[1]) / (1000 if found[2] == "ms" else 1)
