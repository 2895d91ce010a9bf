"""A plan and the weights of a model → pictures: conditioning, guidance, samplers, schedules and the straight line."""
