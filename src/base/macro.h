/* SPDX-License-Identifier: MIT */
#ifndef GV_BASE_MACRO_H
#define GV_BASE_MACRO_H

/* macro - the few compiler attributes and helpers that every file may use. */

#include <stddef.h>

#define gv_must_check     __attribute__((warn_unused_result))
#define gv_nonnull(...)   __attribute__((nonnull(__VA_ARGS__)))
#define gv_format(fmt, a) __attribute__((format(printf, fmt, a)))
#define gv_cleanup(fn)    __attribute__((cleanup(fn)))

#define GV_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define GV_MIN(a, b)                           \
	({                                     \
		__typeof__(a) gv_a_ = (a);     \
		__typeof__(b) gv_b_ = (b);     \
		gv_a_ < gv_b_ ? gv_a_ : gv_b_; \
	})

#define GV_MAX(a, b)                           \
	({                                     \
		__typeof__(a) gv_a_ = (a);     \
		__typeof__(b) gv_b_ = (b);     \
		gv_a_ > gv_b_ ? gv_a_ : gv_b_; \
	})

/* Hands the pointer over and leaves NULL behind, so that gv_cleanup frees nothing. */
#define GV_STEAL(p)                        \
	({                                 \
		__typeof__(p) gv_p_ = (p); \
		(p) = NULL;                \
		gv_p_;                     \
	})

/* Defines name##p(type *) for gv_cleanup; `type` is a pointer type. */
#define GV_DEFINE_CLEANUP(type, name)            \
	static inline void name##p(type *gv_ptr) \
	{                                        \
		if (*gv_ptr != NULL)             \
			name(*gv_ptr);           \
	}

#define GV_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif /* GV_BASE_MACRO_H */
