"""Where problems come from: generators and readers."""
