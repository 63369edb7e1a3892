"""The commands of ``selfexplore``, declared in ``cli``; heavy imports happen inside the command that needs them."""
