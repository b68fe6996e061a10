"""How good a model is: evaluators of crops while it trains, and scores of whole mixtures."""
