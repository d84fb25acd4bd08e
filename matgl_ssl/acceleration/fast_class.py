"""What the faster classes have in common."""

from __future__ import annotations

import copyreg
from typing import Any, ClassVar

from .guard import guarded


class FastClass:
    """Mixin of a faster subclass of one of MatGL's classes, which it stands before in the list of bases.

    It bears its plain class's name, because MatGL writes that into the files of a model. Instances are copied and
    pickled as instances of the plain class: they differ from those in ``forward`` alone.
    """

    plain: ClassVar[type]

    def __init_subclass__(cls) -> None:
        if FastClass not in cls.__bases__:  # torch's parametrizations derive a class from whatever class a module has
            return
        cls.plain = cls.__bases__[1]
        cls.__name__, cls.__qualname__ = cls.plain.__name__, cls.plain.__qualname__
        cls.__module__ = cls.plain.__module__
        cls.forward = guarded(cls.forward)  # type: ignore[attr-defined]

    @classmethod
    def fits(cls, module: Any) -> bool:
        """Whether this class computes what a module of the plain class computes, inner modules included."""
        return True

    def __reduce_ex__(self, protocol: Any) -> Any:
        state = {name: value for name, value in self.__getstate__().items() if name != "_guard"}  # type: ignore[attr-defined]
        # Not copyreg.__newobj__: pickle insists that what it makes is of the class of what it pickles.
        return copyreg._reconstructor, (self.plain, object, None), state  # type: ignore[attr-defined]
