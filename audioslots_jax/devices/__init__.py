"""What a run runs on: meshes, processes, preemption, traces and speed."""
