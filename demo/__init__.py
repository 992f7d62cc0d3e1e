"""How the built-in demo model is made: sentences, tokenizer, model, training, export and evaluation."""
