"""Who is labeled, unlabeled, validation and test: amounts, draws, roles, published lists."""
