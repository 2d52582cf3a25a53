// The three map definitions from before BTF, one per loader that invented it.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
// They are data: the section holds the bytes of these structs, and the loader knows the
// layout. Two of the three are called `bpf_map_def` at home, so each has its loader's name
// here. All numbers are in the byte order of the object file.
#pragma once

#include <linux/types.h>

// The field `pinning`. The first three are iproute2's; gobpf took them over and added one.
enum {
	PIN_NONE = 0,
	PIN_OBJECT_NS = 1, // under a directory of this object file; gobpf never implemented it
	PIN_GLOBAL_NS = 2, // shared by all objects that ask for the same path
	PIN_CUSTOM_NS = 3, // gobpf only: at a path that the caller of the loader gives
};

// gobpf: one definition per section, and the section `maps/<name>` names the map.
struct gobpf_map_def {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 map_flags;
	__u32 pinning;
	char namespace[256]; // with PIN_GLOBAL_NS: /sys/fs/bpf/<namespace>/globals/<name>
};
_Static_assert(sizeof(struct gobpf_map_def) == 280, "gobpf refuses any other size");

// iproute2 (`struct bpf_elf_map`): all definitions in the section `maps`, named by symbol.
struct iproute2_map_def {
	__u32 type;
	__u32 size_key;
	__u32 size_value;
	__u32 max_elem;
	__u32 flags;
	__u32 id; // what other maps call this one by; 0 is none
	__u32 pinning;
	__u32 inner_id; // in an outer map: the id of the map that its entries look like
	__u32 inner_idx; // in an inner map: the entry of the outer map that it is put into
};
_Static_assert(sizeof(struct iproute2_map_def) == 36, "nine words");

// libbpf before 1.0: all definitions in the section `maps`, named by symbol.
struct libbpf_map_def {
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 map_flags;
};
_Static_assert(sizeof(struct libbpf_map_def) == 20, "five words");
