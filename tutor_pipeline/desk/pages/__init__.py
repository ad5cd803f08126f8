"""The pages: a module per place, each with functions from a visit to an answer."""
