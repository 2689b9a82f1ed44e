/* A kernel that refuses routes, for a program that is started with this library in LD_PRELOAD: kernels of today have no
 * limit to their tables, and what else makes them refuse a route cannot be had in a lab.
 *
 * While the file REFUSE_ROUTES exists the kernel is asked for new IPv4 routes with a prefix length that there is not, so
 * that it refuses them; its EINVAL in the answer then becomes the errno that the file has. Each refusal is a line, with
 * the milliseconds of the monotonic clock, in the file REFUSED_ROUTES. All else passes as it is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NO_LENGTH 255

static int last_reason = EINVAL;

/* The errno to refuse with; 0: nothing is refused. */
static int reason(void)
{
    const char *name = getenv("REFUSE_ROUTES");
    FILE *file = name == NULL ? NULL : fopen(name, "r");
    int number = 0;
    if (file == NULL)
        return 0;
    if (fscanf(file, "%d", &number) != 1)
        number = 0;
    fclose(file);
    return number;
}

static void record(void)
{
    struct timespec now;
    FILE *log = fopen(getenv("REFUSED_ROUTES"), "a");
    if (log == NULL)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    fprintf(log, "%lld\n", (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    fclose(log);
}

static struct rtmsg *new_ipv4_route(char *bytes, size_t length)
{
    struct nlmsghdr *header = (struct nlmsghdr *)bytes;
    struct rtmsg *route = NLMSG_DATA(header);
    if (length < NLMSG_LENGTH(sizeof *route) || header->nlmsg_type != RTM_NEWROUTE || route->rtm_family != AF_INET)
        return NULL;
    return route;
}

ssize_t sendto(int fd, const void *bytes, size_t length, int flags, const struct sockaddr *to, socklen_t to_length)
{
    ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "sendto");
    char copy[4096];
    if (to == NULL || to->sa_family != AF_NETLINK || length > sizeof copy || reason() == 0)
        return real(fd, bytes, length, flags, to, to_length);
    memcpy(copy, bytes, length);
    struct rtmsg *route = new_ipv4_route(copy, length);
    if (route != NULL) {
        last_reason = reason();
        route->rtm_dst_len = NO_LENGTH;
        record();
    }
    return real(fd, copy, length, flags, to, to_length);
}

ssize_t recvfrom(int fd, void *bytes, size_t length, int flags, struct sockaddr *from, socklen_t *from_length)
{
    ssize_t (*real)(int, void *, size_t, int, struct sockaddr *, socklen_t *) = dlsym(RTLD_NEXT, "recvfrom");
    ssize_t got = real(fd, bytes, length, flags, from, from_length);
    if (got <= 0 || from == NULL || from->sa_family != AF_NETLINK)
        return got;
    int left = got < (ssize_t)length ? (int)got : (int)length;
    for (struct nlmsghdr *header = bytes; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
        struct nlmsgerr *answer = NLMSG_DATA(header);
        if (header->nlmsg_type != NLMSG_ERROR || answer->error != -EINVAL)
            continue;
        struct rtmsg *route = new_ipv4_route((char *)&answer->msg, header->nlmsg_len - NLMSG_LENGTH(sizeof answer->error));
        if (route != NULL && route->rtm_dst_len == NO_LENGTH)
            answer->error = -last_reason;
    }
    return got;
}
