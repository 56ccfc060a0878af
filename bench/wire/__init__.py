"""The black box over the wire: an endpoint as a predictor, its answers kept, its dollars counted."""
