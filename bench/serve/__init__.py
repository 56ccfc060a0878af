"""A prediction API of one's own: a black box that is one, served over HTTP (`bench serve`)."""
