# demo      packs one real environment and runs it under the real runtime
# test      checks format, lints and documentation, and runs all tests, with the set-up they need
# test-all  runs `test` with a hundred kills and the tests that take minutes, and tests with failing
#           system calls, little memory, an old C library, damaged files, and a quick run of the
#           measurements
# bench     measures against mksquashfs and the chain of programs that condense replaces
# dist      builds the program to ship and its packages, in dist/
# docs      builds the pages of docs/ as a book, in target/book

.PHONY: demo test test-all bench dist docs
demo:
	scripts/demo
test:
	scripts/test
test-all:
	CONDENSE_TEST_KILLS=100 CONDENSE_TEST_LONG=1 scripts/test
	scripts/apt-need strace=strace
	scripts/test-failures
	scripts/test-failures --kill
	scripts/test-memory
	scripts/test-sharing
	scripts/test-slow-fs
	scripts/test-fuzz
	scripts/dist --try target/test-parts/base-other-glibc.sif
	scripts/dist --test "target/$$(uname -m)-unknown-linux-gnu/dist/condense"
	scripts/bench --quick
bench:
	scripts/bench
dist:
	scripts/dist
docs:
	scripts/docs
