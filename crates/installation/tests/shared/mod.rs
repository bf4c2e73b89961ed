//! Settings and a receipt of a made-up installation, used by all test programs of this crate.

use std::collections::BTreeMap;
use std::path::Path;

use condense_installation::{
    BaseRecord, HostView, ImageRecord, InstallationMode, Launch, Placement, Receipt, Shell,
    UpdateState, conda_activation,
};

pub(crate) fn launch(
    mount_point: &str,
    env_prefix: &str,
    runtime: Option<&Path>,
    host_view: HostView,
) -> Launch {
    Launch {
        mount_point: mount_point.into(),
        has_image: true,
        container_marker: env_prefix.into(),
        env_prefix: env_prefix.into(),
        runtime: runtime.map(Path::to_owned),
        host_view,
        binds: Vec::new(),
        flags: Vec::new(),
        variables: Vec::new(),
        base_env_vars: BTreeMap::new(),
        interpreter: None,
        activation: conda_activation(Path::new(env_prefix), "env1"),
        launcher: None,
        extra_text: None,
        hand_written: None,
        shell: Shell::Sh,
        no_user_site: false,
        host_mpi: None,
        hot_parts: Vec::new(),
    }
}

pub(crate) fn receipt(launch: &Launch) -> Receipt {
    Receipt {
        tool_version: "0.1.0".to_owned(),
        created: 1_700_000_000,
        mode: InstallationMode::Conda,
        arguments: Vec::new(),
        inputs: Vec::new(),
        lock: None,
        base: BaseRecord {
            reference: "base.sif".to_owned(),
            path: "/somewhere/base.sif".into(),
            sha256: None,
            placement: Placement::Copy,
            os_packages: Vec::new(),
        },
        image: Some(ImageRecord {
            size_bytes: 0,
            sha256: "ab".repeat(32),
            compression: "zstd:3".to_owned(),
            entries: 0,
        }),
        mount_point: launch.mount_point.clone(),
        env_prefix: launch.env_prefix.clone(),
        env_name: "env1".to_owned(),
        interpreter: None,
        host_view: launch.host_view,
        update_state: UpdateState::default(),
        generation: 0,
    }
}
