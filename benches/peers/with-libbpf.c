// Attaches the program of an object to an interface with libbpf and leaves it there, or takes off what is there.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

static int fail(const char *what)
{
	fprintf(stderr, "with-libbpf: %s failed\n", what);
	return 1;
}

static int attach(int interface, const char *path, const char *name)
{
	LIBBPF_OPTS(bpf_object_open_opts, options);
	struct bpf_object *object = bpf_object__open_file(path, &options);
	struct bpf_program *program;

	if (!object)
		return fail("opening the object");
	if (bpf_object__load(object))
		return fail("loading");
	program = bpf_object__find_program_by_name(object, name);
	if (!program)
		return fail("finding the program");
	if (bpf_xdp_attach(interface, bpf_program__fd(program), XDP_FLAGS_DRV_MODE | XDP_FLAGS_UPDATE_IF_NOEXIST, NULL))
		return fail("attaching");
	// The end of the process frees the rest sooner.
	return 0;
}

int main(int count, char **words)
{
	if (count == 5 && !strcmp(words[1], "attach"))
		return attach(if_nametoindex(words[2]), words[3], words[4]);
	if (count == 3 && !strcmp(words[1], "detach"))
		return bpf_xdp_detach(if_nametoindex(words[2]), XDP_FLAGS_DRV_MODE, NULL) ? fail("detaching") : 0;
	fprintf(stderr, "usage: with-libbpf attach INTERFACE OBJECT PROGRAM | detach INTERFACE\n");
	return 2;
}
