//! What the tools that we replace promise in tests of their own, and which test of ours shows it.
//! Numbers are those of the lists that were made of Tykky's and cotainr's test suites; what has
//! none says why.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

/// Statements `from..=to`, and a file with a test in it, or nothing and the reason.
type Line = (u16, u16, &'static str, &'static str);

const TYKKY: &[Line] = &[
    (1, 7, "tests/cli/speech.rs", "help_and_usage_are_argparse_s"),
    (
        1,
        7,
        "tests/cli/pip_containerize.rs",
        "help_and_usage_are_argparse_s",
    ),
    (1, 8, "tests/cli/wrap.rs", "help_and_usage_are_argparse_s"),
    (
        9,
        9,
        "tests/runtime/build.rs",
        "the_layout_is_tykky_s_through_links",
    ),
    (
        10,
        11,
        "tests/runtime/bad_input.rs",
        "a_destination_that_cannot_be_written",
    ),
    (
        12,
        14,
        "tests/runtime/bad_input.rs",
        "packages_that_cannot_be_had",
    ),
    (15, 15, "tests/cli/speech.rs", "levels_say_more_or_less"),
    (
        16,
        16,
        "tests/cli/interrupted.rs",
        "signals_leave_nothing_but_the_cache",
    ),
    (17, 17, "tests/cli/build.rs", "scratch_stays_when_asked"),
    (
        18,
        18,
        "tests/runtime/conda.rs",
        "scripts_install_with_conda_and_the_image_remembers",
    ),
    (
        19,
        19,
        "tests/cli/network.rs",
        "conda_s_configuration_is_followed_on_request_only",
    ),
    (
        20,
        20,
        "tests/runtime/scripts.rs",
        "scripts_see_what_tykky_shows_them_and_change_the_image",
    ),
    (
        21,
        24,
        "tests/runtime/wrappers/venv.rs",
        "pip_installs_into_it_and_its_programs_run",
    ),
    (
        25,
        25,
        "tests/runtime/conda.rs",
        "scripts_install_with_conda_and_the_image_remembers",
    ),
    (
        26,
        26,
        "tests/runtime/scripts.rs",
        "scripts_see_what_tykky_shows_them_and_change_the_image",
    ),
    (
        27,
        28,
        "tests/runtime/update.rs",
        "a_script_changes_the_unpacked_environment",
    ),
    (
        29,
        29,
        "tests/cli/environment_files.rs",
        "explicit_files_are_installed_as_they_say",
    ),
    (
        30,
        30,
        "tests/runtime/scripts.rs",
        "uv_of_the_environment_installs_for_pip",
    ),
    (
        31,
        31,
        "tests/runtime/uv.rs",
        "an_update_of_a_conda_environment_says_uv_s_words",
    ),
    (
        32,
        32,
        "src/cli/command_lines.rs",
        "every_row_of_tykky_s_command_lines",
    ),
    (
        33,
        33,
        "tests/runtime/wrappers/nested.rs",
        "python_starts_itself",
    ),
    (
        34,
        34,
        "tests/runtime/wrappers/arguments.rs",
        "arguments_arrive_as_they_are",
    ),
    (
        35,
        35,
        "tests/runtime/steps.rs",
        "static_activation_is_replayed",
    ),
    (
        36,
        37,
        "tests/runtime/build.rs",
        "numpy_runs_out_of_one_file",
    ),
    (
        38,
        38,
        "tests/runtime/wrappers/nested.rs",
        "python_starts_itself",
    ),
    (
        39,
        39,
        "tests/runtime/pip_containerize.rs",
        "what_cannot_be_built_leaves_nothing",
    ),
    (
        40,
        40,
        "tests/runtime/pip_containerize.rs",
        "a_python_of_cray_s_stays_outside_of_the_image",
    ),
    (
        41,
        43,
        "tests/runtime/pip_containerize.rs",
        "an_update_stays_on_its_python_and_its_base",
    ),
    (
        44,
        45,
        "tests/runtime/pip_containerize.rs",
        "a_python_of_cray_s_stays_outside_of_the_image",
    ),
    (
        46,
        50,
        "tests/runtime/uv.rs",
        "uv_brings_a_python_of_its_own_and_installs_with_its_own_words",
    ),
    (
        51,
        52,
        "tests/cli/bad_input.rs",
        "a_site_s_runtime_that_is_none",
    ),
    (
        53,
        54,
        "tests/runtime/build.rs",
        "an_ordinary_user_builds_for_both",
    ),
    (
        55,
        55,
        "crates/installation/tests/real_apptainer/binds.rs",
        "two_installations_are_composed",
    ),
    (
        56,
        56,
        "tests/runtime/wrappers/nested.rs",
        "installations_on_path_call_each_other",
    ),
    (
        57,
        57,
        "tests/runtime/wrappers/debug.rs",
        "any_command_runs_inside",
    ),
    (
        58,
        58,
        "tests/runtime/wrappers/nested.rs",
        "installations_on_path_call_each_other",
    ),
    (
        59,
        60,
        "tests/runtime/wrappers/surroundings.rs",
        "activation_can_be_turned_off",
    ),
    (
        61,
        63,
        "tests/runtime/wrappers/venv.rs",
        "it_stays_itself_when_activated_and_when_it_starts_itself",
    ),
    (
        64,
        66,
        "tests/runtime/wrap.rs",
        "a_masked_directory_is_the_image_inside_and_itself_outside",
    ),
    (
        67,
        69,
        "tests/runtime/wrap.rs",
        "an_installed_directory_runs_out_of_one_file",
    ),
    (
        70,
        74,
        "tests/runtime/wrap.rs",
        "a_masked_installation_takes_its_directory_s_place_among_others",
    ),
    (
        75,
        76,
        "tests/runtime/wrap.rs",
        "a_container_s_programs_run_with_its_own_variables",
    ),
    (
        77,
        78,
        "tests/runtime/wrap.rs",
        "a_wrapper_of_another_container_says_so",
    ),
    (
        79,
        79,
        "tests/cli/build.rs",
        "share_holds_lock_receipt_and_input",
    ),
    (80, 80, "", "needs Docker Hub"),
    (
        81,
        85,
        "tests/runtime/pip_containerize.rs",
        "a_python_of_cray_s_stays_outside_of_the_image",
    ),
    (
        86,
        87,
        "tests/runtime/base_placement.rs",
        "another_user_s_base_is_a_link_with_a_digest",
    ),
    (
        88,
        91,
        "tests/runtime/pip_containerize.rs",
        "an_update_stays_on_its_python_and_its_base",
    ),
    (
        92,
        95,
        "tests/runtime/pip_containerize/on_top.rs",
        "a_virtual_environment_on_top_takes_packages",
    ),
    (
        96,
        96,
        "tests/runtime/bad_input.rs",
        "an_installation_is_replaced_only_by_force",
    ),
    (
        97,
        99,
        "tests/cli/bad_input.rs",
        "places_that_cannot_be_used",
    ),
    (
        100,
        101,
        "tests/cli/build.rs",
        "an_empty_directory_and_the_current_one_are_built_into",
    ),
    (
        102,
        102,
        "tests/runtime/wrap.rs",
        "a_container_s_programs_run_with_its_own_variables",
    ),
    (
        103,
        109,
        "tests/runtime/slim.rs",
        "the_pythons_of_docker_hub_are_bases_and_are_wrapped",
    ),
    (
        110,
        114,
        "tests/runtime/wrap.rs",
        "a_container_s_programs_run_with_its_own_variables",
    ),
    (
        115,
        119,
        "tests/runtime/slim.rs",
        "the_pythons_of_docker_hub_are_bases_and_are_wrapped",
    ),
    (
        120,
        120,
        "tests/runtime/update.rs",
        "installations_of_tykky_s_are_carried_over",
    ),
];

/// The scripts in the pages of CSC and LUMI and in Tykky's README, each with the test that covers
/// it.
const PAGES: &[(&str, &str, &str)] = &[
    (
        "conda install -y numpy; conda remove -y pyyaml; pip install requests",
        "tests/runtime/conda_scripts.rs",
        "the_example_of_the_pages_installs_and_removes",
    ),
    (
        "conda update, conda upgrade --all, conda update -n base conda",
        "tests/runtime/conda_scripts.rs",
        "an_update_takes_the_newest_and_leaves_nothing_of_the_old",
    ),
    (
        "conda uninstall, conda remove --force",
        "tests/runtime/conda_scripts.rs",
        "dependents_and_orphans_go_unless_forced",
    ),
    (
        "conda deactivate, conda activate base, source …/bin/activate, eval \"$(conda shell.bash hook)\"",
        "tests/runtime/conda_scripts.rs",
        "shells_activate_and_deactivate",
    ),
    (
        "conda env update -f, conda config --add channels, --set channel_priority, --show",
        "tests/runtime/conda_scripts.rs",
        "files_and_settings_hold_for_the_rest_of_the_build",
    ),
    (
        "conda create, conda search, conda env create, conda install -n base: refused by name",
        "tests/runtime/conda.rs",
        "what_conda_cannot_install_ends_the_build",
    ),
    (
        "wrapper called from another container",
        "tests/runtime/conda_scripts.rs",
        "another_container_that_starts_none_is_told",
    ),
    (
        "Remove [...] from PATH",
        "tests/runtime/conda_scripts.rs",
        "a_foreign_installation_on_path_is_named_and_does_no_harm",
    ),
];

/// Whether the file has a test of this name.
fn is_there(file: &str, test: &str) -> bool {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{path}: {error}"))
        .contains(&format!("fn {test}()"))
}

#[test]
fn every_statement_of_tykky_s_has_a_test_or_a_reason() {
    let mut shown: BTreeMap<u16, usize> = (1..=120).map(|number| (number, 0)).collect();
    for (from, to, file, test) in TYKKY {
        assert!(
            file.is_empty() || is_there(file, test),
            "{file} has no test {test}"
        );
        for number in *from..=*to {
            *shown.get_mut(&number).unwrap() += 1;
        }
    }
    let missing: Vec<_> = shown.iter().filter(|(_, count)| **count == 0).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_command_of_the_pages_has_a_test() {
    for (commands, file, test) in PAGES {
        assert!(
            is_there(file, test),
            "{commands}: {file} has no test {test}"
        );
    }
}
