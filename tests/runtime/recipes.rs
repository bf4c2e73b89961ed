//! Recipes of the kind that courses and users have, with the real archive of Debian: packages of
//! the distribution on a base, and mpi4py from source against the image's MPICH.

mod long {
    use crate::harness::{Account, CommandOutput, Run, TestDir, parts};

    /// Sections that make apt use the archive of the distribution.
    const ARCHIVE: &str = "%post\n  cp /etc/apt/debian.list /etc/apt/sources.list\n  apt-get -q update\n  export DEBIAN_FRONTEND=noninteractive\n";

    fn build(test: &TestDir, sections: &str) -> CommandOutput {
        let base = parts().apt_base();
        let text = format!(
            "Bootstrap: localimage\nFrom: {}\n{sections}",
            base.display()
        );
        test.write("recipe.def", &text);
        let mut command = test.command(parts().path("programs/condense"));
        command
            .args(["build", "recipe.def", "recipe.sif", "--explain"])
            .env("TMPDIR", test.scratch());
        command.run()
    }

    fn exec(test: &TestDir, words: &[&str]) -> String {
        let mut exec = test.command("apptainer");
        exec.args(["-s", "exec", "recipe.sif"]).args(words);
        exec.run().succeeded().stdout
    }

    #[test]
    #[ignore = "needs: the real parts (scripts/setup-tests)"]
    fn packages_of_the_distribution_are_installed_on_a_base() {
        let test = TestDir::new(Account::Ordinary, "recipe-packages");
        let sections = format!(
            "{ARCHIVE}  apt-get -q install -y --no-install-recommends jq mesa-utils-bin openssh-client uuid-runtime\n  apt-get clean\n%environment\n  export QUERY=.a\n%runscript\n  exec jq \"$QUERY\"\n%test\n  jq --version\n  command -v eglinfo\n  grep -q ^_ssh: /etc/group\n  grep -q ^uuidd: /etc/passwd\n"
        );
        build(&test, &sections).succeeded();
        let shown = exec(&test, &["sh", "-c", "echo '{\"a\": 7}' | jq \"$QUERY\""]);
        assert_eq!(shown, "7\n");
        test.left_nothing();
    }

    #[test]
    #[ignore = "needs: the real parts (scripts/setup-tests)"]
    fn mpi4py_is_built_against_the_mpich_of_the_image() {
        let test = TestDir::new(Account::Ordinary, "recipe-mpi4py");
        // Without optimisation, the build takes seconds instead of minutes.
        let sections = format!(
            "%files\n  {} /sdists\n{ARCHIVE}  apt-get -q install -y --no-install-recommends gcc libc6-dev python3-dev python3-pip mpich libmpich-dev\n  CFLAGS=-O0 pip install --break-system-packages --no-index --find-links /sdists mpi4py\n  rm -r /sdists\n",
            parts().sdists().display()
        );
        build(&test, &sections).succeeded();
        let program = "from mpi4py import MPI; w = MPI.COMM_WORLD; every = w.gather((w.rank, w.allreduce(w.rank + 1))); w.rank or print(MPI.Get_library_version().split()[0], every)";
        let shown = exec(&test, &["mpiexec", "-n", "2", "python3", "-c", program]);
        assert_eq!(shown, "MPICH [(0, 3), (1, 3)]\n");
        test.left_nothing();
    }
}
