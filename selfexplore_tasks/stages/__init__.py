"""The stages of a round: one module each, named as in the Dag, the CLI and the manifests."""
