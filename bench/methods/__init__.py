"""The methods as modules: bench.methods.zip is methods/zip.py. bench.plugins finds and loads them."""
