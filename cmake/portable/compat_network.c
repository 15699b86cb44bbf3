/* compat_network.c - no network: libcrypto's archive brings code that opens connections, which pare never calls
 *
 * These take the place of libc's functions for what is linked into the program, so that it has no way to a network even
 * where a fault should lead into that code. Hidden: a driver that the CUDA plugin loads keeps its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <stddef.h>
#include <sys/socket.h>

#define HIDDEN __attribute__((visibility("hidden")))
#define REFUSED(name, ...)                                                                                             \
    HIDDEN int name(__VA_ARGS__)                                                                                       \
    {                                                                                                                  \
        errno = ENOSYS;                                                                                                \
        return -1;                                                                                                     \
    }
#pragma GCC diagnostic ignored "-Wunused-parameter"

REFUSED(socket, int domain, int type, int protocol)
REFUSED(bind, int fd, const struct sockaddr *address, socklen_t n)
REFUSED(connect, int fd, const struct sockaddr *address, socklen_t n)
REFUSED(listen, int fd, int n)
REFUSED(accept, int fd, struct sockaddr *restrict address, socklen_t *restrict n)

HIDDEN ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    errno = ENOSYS;
    return -1;
}
HIDDEN ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    errno = ENOSYS;
    return -1;
}
HIDDEN struct hostent *gethostbyname(const char *name)
{
    return NULL;
}
HIDDEN int getaddrinfo(const char *restrict name, const char *restrict service, const struct addrinfo *restrict hints,
                       struct addrinfo **restrict out)
{
    return EAI_FAIL;
}
HIDDEN int getnameinfo(const struct sockaddr *restrict address, socklen_t n, char *restrict host, socklen_t n_host,
                       char *restrict service, socklen_t n_service, int flags)
{
    return EAI_FAIL;
}
