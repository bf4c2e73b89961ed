# demo      one real environment, packed and run under the real runtime
# test      format, lints, offline tests, then the tests with the real runtime after their set-up
# test-all  the same with a hundred kills, failing system calls, little memory, an old C library, damaged files,
#           and a quick run of the measurements
# bench     measures against mksquashfs and the chain that condense replaces
# dist      the program to ship, in dist/

.PHONY: demo test test-all bench dist
demo:
	scripts/demo
test:
	scripts/test
test-all:
	CONDENSE_TEST_KILLS=100 scripts/test
	scripts/apt-need strace=strace
	scripts/test-failures
	scripts/test-failures --kill
	scripts/test-memory
	scripts/test-fuzz
	scripts/dist --try target/test-parts/base-other-glibc.sif
	scripts/bench --quick
bench:
	scripts/bench
dist:
	scripts/dist
