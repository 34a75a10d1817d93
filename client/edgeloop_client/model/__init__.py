"""The embedded default model: a local server that speaks providers' wire formats and computes its answers from the requests."""
