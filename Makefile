# demo      one real environment, packed and run under the real runtime
# test      format, lints, offline tests, then the tests with the real runtime after their set-up
# test-all  the same, and a quick run of the measurements
# bench     measures against mksquashfs and the chain that condense replaces
# dist      the program to ship, in dist/

.PHONY: demo test test-all bench dist
demo:
	scripts/demo
test:
	scripts/test
test-all:
	scripts/test
	scripts/bench --quick
bench:
	scripts/bench
dist:
	scripts/dist
