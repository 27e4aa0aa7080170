"""What the HTTP service answers, as models: OpenAPI is made from them, and rows are rendered through them."""
