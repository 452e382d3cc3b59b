"""From posterior error rates and counted chips to programming, saving and report.

What is listed in ``__init__.pyi`` is public and loaded at first use; all else may move.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
