from bench.api import compare as compare
from bench.api import load as load
from bench.api import plot as plot
from bench.api import run as run
from bench.api import table as table

__version__: str
