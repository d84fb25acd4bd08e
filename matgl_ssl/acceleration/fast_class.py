"""What the faster classes have in common."""

from __future__ import annotations

import copyreg
from typing import Any, ClassVar


class FastClass:
    """Mixin of a faster subclass of one of MatGL's classes, which it stands before in the list of bases.

    It bears its plain class's name, because MatGL writes that into the files of a model, and instances are copied and
    pickled as the plain ones that they are but for ``forward``.
    """

    plain: ClassVar[type]

    def __init_subclass__(cls) -> None:
        cls.plain = cls.__bases__[1]
        cls.__name__, cls.__qualname__ = cls.plain.__name__, cls.plain.__qualname__
        cls.__module__ = cls.plain.__module__

    @classmethod
    def fits(cls, module: Any) -> bool:
        """Whether a module of the plain class can become one of this class."""
        return True

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Not copyreg.__newobj__: pickle insists that what it makes is of the class of what it pickles.
        return copyreg._reconstructor, (self.plain, object, None), self.__getstate__()  # type: ignore[attr-defined]
