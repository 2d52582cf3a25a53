// without CAPABILITY... -- COMMAND...: runs a command without these capabilities, by number, for good.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int at = 1;

	for (; at < argc && strcmp(argv[at], "--"); at++) {
		// A kernel that does not know it gives it to nobody.
		prctl(PR_CAPBSET_DROP, strtoul(argv[at], NULL, 10), 0, 0, 0);
	}
	if (at + 1 < argc)
		execvp(argv[at + 1], argv + at + 1);
	perror("without");
	return 127;
}
