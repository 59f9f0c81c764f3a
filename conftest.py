pytest_plugins = ["engine.session"]
