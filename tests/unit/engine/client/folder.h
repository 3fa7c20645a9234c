/* SPDX-License-Identifier: MIT */
#ifndef GV_TESTS_UNIT_ENGINE_CLIENT_FOLDER_H
#define GV_TESTS_UNIT_ENGINE_CLIENT_FOLDER_H

/* folder - for tests that have a state folder on the disk. Included after cmocka.h. */

#include <dirent.h>
#include <unistd.h>

/* Removes a folder of plain files; one that is not there is fine. */
static inline void folder_remove(const char *dir)
{
	DIR *d = opendir(dir);

	if (d == NULL)
		return;
	for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		if (e->d_name[0] != '.')
			assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
	}
	assert_int_equal(closedir(d), 0);
	assert_int_equal(rmdir(dir), 0);
}

#endif /* GV_TESTS_UNIT_ENGINE_CLIENT_FOLDER_H */
