// CO-RE: what a program asks of the types of the kernel that it is loaded into. The
// compiler writes the answer for the types that the program declares into an instruction,
// and a record of the question beside it; the loader puts in the kernel's answer.
// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <bpf/bpf_helpers.h>

// The fields of such a struct are looked up in the kernel's struct of the same name, without
// what follows three underscores. It need not have all of the kernel's fields, nor in order.
#define __core __attribute__((preserve_access_index))

// What can be asked of a field.
enum bpf_field_info_kind {
	BPF_FIELD_BYTE_OFFSET = 0,
	BPF_FIELD_BYTE_SIZE = 1,
	BPF_FIELD_EXISTS = 2,
	BPF_FIELD_SIGNED = 3,
	BPF_FIELD_LSHIFT_U64 = 4,
	BPF_FIELD_RSHIFT_U64 = 5,
};

// Of a type: its number in the program's own BTF or in the kernel's...
enum bpf_type_id_kind {
	BPF_TYPE_ID_LOCAL = 0,
	BPF_TYPE_ID_TARGET = 1,
};

// ...and the rest.
enum bpf_type_info_kind {
	BPF_TYPE_EXISTS = 0,
	BPF_TYPE_SIZE = 1,
	BPF_TYPE_MATCHES = 2,
};

// Of a value of an enumeration.
enum bpf_enum_value_kind {
	BPF_ENUMVAL_EXISTS = 0,
	BPF_ENUMVAL_VALUE = 1,
};

#define bpf_core_field_offset(field) __builtin_preserve_field_info(field, BPF_FIELD_BYTE_OFFSET)
#define bpf_core_field_size(field) __builtin_preserve_field_info(field, BPF_FIELD_BYTE_SIZE)
#define bpf_core_field_exists(field) __builtin_preserve_field_info(field, BPF_FIELD_EXISTS)
#define bpf_core_field_signed(field) __builtin_preserve_field_info(field, BPF_FIELD_SIGNED)

#define bpf_core_type_id_local(type) __builtin_btf_type_id(*(type *)0, BPF_TYPE_ID_LOCAL)
#define bpf_core_type_id_kernel(type) __builtin_btf_type_id(*(type *)0, BPF_TYPE_ID_TARGET)
#define bpf_core_type_exists(type) __builtin_preserve_type_info(*(type *)0, BPF_TYPE_EXISTS)
#define bpf_core_type_size(type) __builtin_preserve_type_info(*(type *)0, BPF_TYPE_SIZE)
#define bpf_core_type_matches(type) __builtin_preserve_type_info(*(type *)0, BPF_TYPE_MATCHES)

#define bpf_core_enum_value_exists(type, value) \
	__builtin_preserve_enum_value(*(type *)value, BPF_ENUMVAL_EXISTS)
#define bpf_core_enum_value(type, value) \
	__builtin_preserve_enum_value(*(type *)value, BPF_ENUMVAL_VALUE)

// Reads a field of a struct in the kernel's memory.
#define bpf_core_read_field(from, field) ({ \
	__typeof__((from)->field) value; \
	bpf_probe_read_kernel((void *)&value, sizeof(value), \
			      __builtin_preserve_access_index(&(from)->field)); \
	value; })

// Reads a bit-field, sign and all: as many bytes as the kernel has it in, shifted so that
// the field is alone.
#define bpf_core_read_bits(from, field) ({ \
	__u64 bits = 0; \
	__u32 size = bpf_core_field_size((from)->field); \
	const void *place = (const void *)(from) + bpf_core_field_offset((from)->field); \
	if (size <= sizeof(bits)) \
		bpf_probe_read_kernel((void *)&bits + BPF_CORE_LOW_END(size), size, place); \
	bits <<= __builtin_preserve_field_info((from)->field, BPF_FIELD_LSHIFT_U64); \
	if (bpf_core_field_signed((from)->field)) \
		bits = (__s64)bits >> __builtin_preserve_field_info((from)->field, BPF_FIELD_RSHIFT_U64); \
	else \
		bits = bits >> __builtin_preserve_field_info((from)->field, BPF_FIELD_RSHIFT_U64); \
	bits; })

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BPF_CORE_LOW_END(size) 0
#else
#define BPF_CORE_LOW_END(size) (8 - (size))
#endif
