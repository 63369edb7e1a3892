"""How good are first pits: against computable truth, and against human labels of the first wrong step."""
