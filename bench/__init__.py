"""The reference benchmark for black-box prompt tuning of vision-language models."""

__version__ = "0.1.0"
