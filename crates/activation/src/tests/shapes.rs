//! Scripts shaped like those of well-known packages, and the steps that replay them.

use std::process::Command;

use super::Place;

pub(super) const GDAL: &str = r#"
# Keeps what the user has.
if [ -n "${GDAL_DATA+x}" ]; then
  export _CONDA_SET_GDAL_DATA_OLD="$GDAL_DATA"
fi
if [ -z "${GDAL_DATA:-}" ]; then
  if [ -d "${CONDA_PREFIX}/share/gdal" ]; then
    export GDAL_DATA="${CONDA_PREFIX}/share/gdal"
    export _CONDA_SET_GDAL_DATA="${GDAL_DATA}"
  elif [ -d "${CONDA_PREFIX}/Library/share/gdal" ]; then
    export GDAL_DATA="${CONDA_PREFIX}/Library/share/gdal"
  fi
fi
export CPL_ZIP_ENCODING=UTF-8
"#;

pub(super) const PROJ: &str = r#"
if [ -n "${PROJ_DATA:-}" ]; then
  export CONDA_BACKUP_PROJ_DATA="$PROJ_DATA"
fi
export PROJ_DATA="$CONDA_PREFIX/share/proj"
if [ -f "$CONDA_PREFIX/share/proj/copyright_and_licenses.csv" ]; then
  export PROJ_NETWORK=ON
else
  export PROJ_NETWORK=OFF
fi
"#;

pub(super) const JAVA: &str = r#"
export CONDA_BACKUP_JAVA_HOME="${JAVA_HOME:-}"
export JAVA_HOME="${CONDA_PREFIX}/lib/jvm"
export CONDA_BACKUP_JAVA_LD_LIBRARY_PATH="${JAVA_LD_LIBRARY_PATH:-}"
export JAVA_LD_LIBRARY_PATH=$JAVA_HOME/lib/server
"#;

pub(super) const CERTIFICATES: &str = r#"
export JDK_CERT_PREV="${SSL_CERT_FILE-}"
if [ "${SSL_CERT_FILE-}" = "" ]; then
  export SSL_CERT_FILE="${CONDA_PREFIX}/ssl/cacert.pem"
fi
"#;

pub(super) const OPENMPI: &str = r#"
export OPAL_PREFIX_PREV="${OPAL_PREFIX-}"
if [[ -z "${OMPI_MCA_opal_cuda_support+set}" ]]; then export OMPI_MCA_opal_cuda_support=true; fi
export OPAL_PREFIX="${CONDA_PREFIX}"
echo 'On Linux, this build is CUDA-aware > but off by default.'
"#;

pub(super) const LIST: &str = r#"
catalogs="file://${CONDA_PREFIX}/etc/xml/catalog"
export XML_CATALOG_FILES="${XML_CATALOG_FILES:+$XML_CATALOG_FILES }$catalogs"
export PKG_CONFIG_PATH=$CONDA_PREFIX/lib/pkgconfig:${PKG_CONFIG_PATH-}
export MANPATH="$CONDA_PREFIX/man${MANPATH:+:${MANPATH}}"
export PATH="$CONDA_PREFIX/libexec:$PATH"
unset catalogs
"#;

pub(super) const COMPILERS: &str = r#"
_tc_switch() {
  local mode=$1; shift
  local chost=$1; shift
  local thing newval oldval from to pass
  if [ "$mode" = on ]; then from= to=CONDA_BACKUP_; else from=CONDA_BACKUP_ to=; fi
  for pass in check apply; do
    for thing in "$@"; do
      case "${thing}" in
        *,*)
          newval=$(echo "${thing}" | sed "s,^[^\,]*\,\(.*\),\1,")
          thing=$(echo "${thing}" | sed "s,^\([^\,]*\)\,.*,\1,")
          ;;
        *)
          newval="${CONDA_PREFIX}/bin/${chost}-${thing}"
          thing=$(echo ${thing} | tr 'a-z+-.' 'A-ZX__')
          if [ ! -x "${newval}" ] && [ "${pass}" = "check" ]; then
            echo "missing ${newval}"
            return 1
          fi
          ;;
      esac
      if [ "${pass}" = "apply" ]; then
        eval oldval="\$${from}${thing}"
        if [ -n "${oldval}" ]; then eval export "${to}${thing}='${oldval}'"; else eval unset "${to}${thing}"; fi
        if [ -n "${newval}" ]; then eval export "'${from}${thing}=${newval}'"; else eval unset "${from}${thing}"; fi
      fi
    done
  done
  return 0
}
if [ "${CONDA_BUILD:-0}" = 1 ]; then
  CFLAGS_USED="-march=nocona -I${PREFIX}/include"
  env > /tmp/old-env-$$.txt
else
  CFLAGS_USED="-march=nocona -O2 -isystem ${CONDA_PREFIX}/include"
fi
_tc_switch on x86_64-linux \
  cc "CFLAGS,${CFLAGS}${CFLAGS:+ }${CFLAGS_USED}" "CONDA_TOOLCHAIN_HOST,x86_64-linux" "SYSCONF,${SYSCONF_USER:-_sysconfigdata}"
if [ $? -ne 0 ]; then echo "failed"; else :; fi
"#;

#[test]
fn data_directories() {
    assert_eq!(
        Place::new(&[("gdal-activate", GDAL), ("proj4-activate", PROJ)]).steps(),
        [
            "export CPL_ZIP_ENCODING='UTF-8'",
            "[ \"${GDAL_DATA:+x}\" ] || export GDAL_DATA='ENV/share/gdal'",
            "export PROJ_DATA='ENV/share/proj'",
            "export PROJ_NETWORK='OFF'",
        ]
    );
}

#[test]
fn java_and_certificates_and_mpi() {
    assert_eq!(
        Place::new(&[("1", JAVA), ("2", CERTIFICATES), ("3", OPENMPI)]).steps(),
        [
            "export JAVA_HOME='ENV/lib/jvm'",
            "export JAVA_LD_LIBRARY_PATH='ENV/lib/jvm/lib/server'",
            "[ \"${SSL_CERT_FILE:+x}\" ] || export SSL_CERT_FILE='ENV/ssl/cacert.pem'",
            "[ \"${OMPI_MCA_opal_cuda_support+x}\" ] || export OMPI_MCA_opal_cuda_support='true'",
            "export OPAL_PREFIX='ENV'",
        ]
    );
}

#[test]
fn lists() {
    assert_eq!(
        Place::new(&[("libxml2", LIST)]).steps(),
        [
            "export MANPATH='ENV/man'\"${MANPATH:+:${MANPATH}}\"",
            "export PATH='ENV/libexec:'\"${PATH:+${PATH}}\"",
            "export PKG_CONFIG_PATH='ENV/lib/pkgconfig:'\"${PKG_CONFIG_PATH:+${PKG_CONFIG_PATH}}\"",
            "export XML_CATALOG_FILES=\"${XML_CATALOG_FILES:+${XML_CATALOG_FILES} }\"'file://ENV/etc/xml/catalog'",
            "unset catalogs",
        ]
    );
}

#[test]
fn compilers() {
    let place = Place::new(&[("activate-gcc", COMPILERS)]);
    place.write("bin/x86_64-linux-cc", "");
    let program = place.env().join("bin/x86_64-linux-cc");
    assert!(
        Command::new("chmod")
            .arg("+x")
            .arg(program)
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(
        place.steps(),
        [
            "export CC='ENV/bin/x86_64-linux-cc'",
            "export CFLAGS=\"${CFLAGS:+${CFLAGS} }\"'-march=nocona -O2 -isystem ENV/include'",
            "export CONDA_TOOLCHAIN_HOST='x86_64-linux'",
            "export SYSCONF=\"${SYSCONF_USER:-_sysconfigdata}\"",
        ]
    );
}
