/* The programs of the edge packages, one per EDGE_... macro. They are linked
 * statically: they run on any base, whatever its glibc. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined EDGE_ARGV
/* Prints every argument, argv[0] included, each ended by a NUL. */
int main(int argc, char **argv) {
    for (int i = 0; i < argc; i++)
        fwrite(argv[i], 1, strlen(argv[i]) + 1, stdout);
    return 0;
}

#elif defined EDGE_EXIT
/* edge-exit N exits with N; edge-exit -N kills itself with signal N. */
int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 0;
    if (n < 0)
        kill(getpid(), -n);
    return n;
}

#elif defined EDGE_ENV
/* Prints the environment, each variable ended by a NUL; or the named ones. */
extern char **environ;
int main(int argc, char **argv) {
    if (argc < 2)
        for (char **e = environ; *e; e++)
            fwrite(*e, 1, strlen(*e) + 1, stdout);
    for (int i = 1; i < argc; i++) {
        const char *value = getenv(argv[i]);
        printf("%s%s%s", argv[i], value ? "=" : " is not set", value ? value : "");
        putchar(0);
    }
    return 0;
}

#elif defined EDGE_WAIT
/* Says "ready", then waits. With --catch, SIGTERM, SIGINT, SIGHUP and SIGUSR1
 * make it print their number and exit with 3. Gives up after a minute. */
static void caught(int number) {
    char line[] = "caught 00\n";
    line[7] += number / 10;
    line[8] += number % 10;
    _exit(write(1, line, sizeof line - 1) > 0 ? 3 : 4);
}
int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--catch")) {
        int all[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
        for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
            signal(all[i], caught);
    }
    puts("ready");
    fflush(stdout);
    sleep(60);
    return 5;
}

#elif defined EDGE_PREFIX
/* Prints the build prefix and a path below it, as compiled in. */
static const char *volatile prefix = PREFIX;
static const char *volatile conf = PREFIX "/etc/edge.conf";
int main(void) {
    printf("%s\n%s\n", prefix, conf);
    return 0;
}
#endif
