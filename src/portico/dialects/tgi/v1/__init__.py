"""The OpenAI routes as TGI writes them, with its own fields, shapes and words."""
