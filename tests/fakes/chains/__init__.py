"""Small made-up payments and orders, and one provider of the stand-in as the contract sees it."""
