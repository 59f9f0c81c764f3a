"""A campaign of many subjects on many GPUs, simulated: how long it takes, what it costs, what limits it."""
