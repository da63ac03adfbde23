"""A plugin of pytest: each array on the GPU, and each pinned one, is an allocation of its own.

Out of a pool, memory beyond the end of an array is another's, and what nothing has written was
perhaps written for the one before: a sanitizer would see neither.
"""

import cupy

cupy.cuda.set_allocator(None)
cupy.cuda.set_pinned_memory_allocator(None)
