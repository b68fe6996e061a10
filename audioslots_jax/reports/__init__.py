"""What a run shows and leaves behind: metrics, events, pictures and wavs."""
