"""Text generation behind one protocol: ``select.open_engine`` loads a model with vLLM or transformers."""
