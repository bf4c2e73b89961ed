//! Responsible for the lines by which a container image sets a site's variables, on the node where
//! it starts.
//!
//! Runtimes hide the user's variables from the scripts of an image, but pass them as a list in
//! `__exported_env__`: one `NAME=VALUE` per line, with newlines in values escaped. Where this list
//! is missing, the script reads the variables themselves. The lines start no process.

use crate::Result;
use condense_activation::ValuePart;

use crate::quote::check_name;
use crate::wrapper::SiteVariable;

use super::environment::quote;

/// Shell functions that read the user's variables. A runtime that cleans the environment keeps the
/// user's number (`UID`), but not the name (`USER`).
const READERS: &str = r#"# The site's variables, set where the image starts unless they are set already.
condense_line='
'
condense_user="$condense_line${__exported_env__-}$condense_line"
condense_read() {
  case $condense_user in
    *"$condense_line$1="*) condense_value=${condense_user#*"$condense_line$1="} condense_value=${condense_value%%"$condense_line"*} ;;
    *) eval "condense_value=\${$1-}" ;;
  esac
  case $1$condense_value in USER) condense_value=${UID-} ;; esac
}
condense_is_free() {
  case $condense_user in *"$condense_line$1="*) return 1 ;; esac
  eval "[ -z \"\${$1+x}\" ]"
}
"#;
const END: &str = "unset condense_line condense_user condense_value condense_text
unset -f condense_read condense_is_free
";

/// Returns the lines for all variables, or an empty string if there are none.
///
/// # Errors
/// Returns [`Error::Value`](crate::Error::Value) for a name that no shell can set.
pub(super) fn render(variables: &[SiteVariable]) -> Result<String> {
    if variables.is_empty() {
        return Ok(String::new());
    }
    let mut text = READERS.to_owned();
    for variable in variables {
        let name = &variable.name;
        check_name(name)?;
        let there = variable.path.as_ref().map_or(String::new(), |path| {
            format!("[ -e {} ] && ", quote(&path.to_string_lossy()))
        });
        text.push_str(&format!(
            "if {there}condense_is_free {name}; then\n  condense_text=\n"
        ));
        for part in variable.parts()? {
            text.push_str(&match part {
                ValuePart::Literal(literal) => {
                    format!("  condense_text=\"$condense_text\"{}\n", quote(&literal))
                }
                ValuePart::Variable { name, .. } | ValuePart::VariableOr { name, .. } => {
                    format!(
                        "  condense_read {name}; condense_text=\"$condense_text$condense_value\"\n"
                    )
                }
            });
        }
        text.push_str(&format!("  export {name}=\"$condense_text\"\nfi\n"));
    }
    text.push_str(END);
    Ok(text)
}
