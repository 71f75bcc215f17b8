"""How a scheduler is held: parameters, config, registry, files, the Hub, the bridge to diffusers."""
