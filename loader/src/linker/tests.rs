//! Tests of the linker on hand-made objects; fixtures from compilers are in loader/tests.
