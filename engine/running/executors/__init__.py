"""Where arms are measured: in this process, in a pool of processes, on a Ray cluster."""
