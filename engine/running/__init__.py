"""How arms are run: the scheduler, interim looks, plans, costs, slices, progress, executors."""
