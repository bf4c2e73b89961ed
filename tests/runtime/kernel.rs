//! Test of `condense kernel` with Jupyter's own client, which starts the kernel on the host.

use std::process::Command;

use crate::harness::{Account, Run, TestDir, parts};

/// Program that starts the kernel `mine`, executes a cell, interrupts another one, and ends the
/// kernel.
const CLIENT: &str = "
import time
from jupyter_client.manager import KernelManager
manager = KernelManager(kernel_name='mine')
manager.start_kernel()
client = manager.blocking_client()
client.start_channels()
try:
    client.wait_for_ready(timeout=120)
    texts = []
    def hook(message):
        if message['msg_type'] == 'stream': texts.append(message['content']['text'])
    client.execute_interactive('import sys; print(sys.prefix)', output_hook=hook, timeout=60)
    print(''.join(texts), end='')
    sent = client.execute('import time; time.sleep(600)')
    time.sleep(2)
    manager.interrupt_kernel()
    while True:
        reply = client.get_shell_msg(timeout=60)
        if reply['parent_header']['msg_id'] == sent: break
    print(reply['content']['ename'])
finally:
    client.stop_channels()
    manager.shutdown_kernel(now=True)
";

#[test]
#[ignore = "needs: the real parts (scripts/setup-tests)"]
fn jupyter_starts_the_kernel_and_interrupts_it() {
    let account = Account::Root;
    let test = TestDir::new(account, "kernel");
    let python = |words: &[&str]| {
        // The variables of this process lead to the index of packages.
        let mut command = Command::new("python3");
        command
            .args(words)
            .current_dir(test.dir())
            .run()
            .succeeded()
    };
    let download = "-m pip download -q -d wheels --only-binary=:all: --python-version 3.11";
    let words: Vec<&str> = download.split(' ').chain(["ipykernel"]).collect();
    python(&words);
    python(&["-m", "venv", "jupyter"]);
    let mut pip = Command::new(test.path("jupyter/bin/pip"));
    pip.args(["install", "-q", "jupyter_client"]);
    pip.run().succeeded();
    let requirements = test.write("req.txt", "ipykernel\n");
    let installation = test.installation();
    let environment = test.environment("python=3.11, pip, libstdcxx");
    test.new_command(&installation.dir, &environment)
        .arg("-r")
        .arg(requirements)
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", test.path("wheels"))
        .run()
        .succeeded();
    let mut command = test.command(parts().path("programs/condense"));
    command.args(["kernel", "--name", "mine"]);
    let data = test.path("data");
    command.arg(&installation.dir);
    command.env("JUPYTER_DATA_DIR", &data).run().succeeded();
    let client = test.write("client.py", CLIENT);
    test.command(test.path("jupyter/bin/python"))
        .arg(client)
        .env("JUPYTER_DATA_DIR", &data)
        .env("PYTHONPATH", "/no/such/directory")
        .run()
        .says(&format!("{}\nKeyboardInterrupt", installation.env_prefix()));
}
