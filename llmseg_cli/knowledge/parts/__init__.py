"""Parts of pre-trained models that go into networks: image encoders, layers, adapters."""
