"""What ends a cell whose model is behind an address."""


class WireFailed(Exception):
    """No usable answer can be had. The cell fails; this line is its record's reason."""
