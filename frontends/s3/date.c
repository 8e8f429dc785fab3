/* SPDX-License-Identifier: Apache-2.0 */
#include "date.h"

#include <stdio.h>
#include <time.h>

static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char long_days[7][10] = { "Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday" };
static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

static struct tm utc(int64_t sec)
{
    time_t t = sec < -62167219200 || sec > 253402300799 ? 0 : (time_t)sec;
    struct tm tm = { 0 };

    gmtime_r(&t, &tm);
    return tm;
}

char *wg_s3_date_http(int64_t sec, char *buf)
{
    struct tm tm = utc(sec);

    snprintf(buf, WG_S3_DATE_TEXT, "%s, %02u %s %04u %02u:%02u:%02u GMT", days[tm.tm_wday % 7],
             (unsigned)tm.tm_mday % 100, months[tm.tm_mon % 12], (unsigned)(tm.tm_year + 1900) % 10000,
             (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100);
    return buf;
}

char *wg_s3_date_iso(int64_t sec, char *buf)
{
    struct tm tm = utc(sec);

    strftime(buf, WG_S3_DATE_TEXT, "%Y-%m-%dT%H:%M:%S.000Z", &tm);
    return buf;
}

char *wg_s3_date_basic(int64_t sec, char *buf)
{
    struct tm tm = utc(sec);

    strftime(buf, WG_S3_DATE_TEXT, "%Y%m%dT%H%M%SZ", &tm);
    return buf;
}

/* A cursor of our own, since strptime follows the process's locale and takes blanks anywhere. */
struct text {
    const char *at, *end;
    bool bad;
};

static int number(struct text *t, int digits)
{
    int n = 0;

    for (int i = 0; i < digits; i++, t->at++) {
        if (t->at >= t->end || *t->at < '0' || *t->at > '9') {
            t->bad = true;
            return 0;
        }
        n = n * 10 + (*t->at - '0');
    }
    return n;
}

static bool take(struct text *t, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(t->end - t->at) < n || memcmp(t->at, word, n) != 0)
        return false;
    t->at += n;
    return true;
}

static void need(struct text *t, const char *word)
{
    if (!take(t, word))
        t->bad = true;
}

static int month(struct text *t)
{
    for (int i = 0; i < 12; i++)
        if (take(t, months[i]))
            return i;
    t->bad = true;
    return 0;
}

static void clock_time(struct text *t, struct tm *tm)
{
    tm->tm_hour = number(t, 2);
    need(t, ":");
    tm->tm_min = number(t, 2);
    need(t, ":");
    tm->tm_sec = number(t, 2);
}

/* What is left must be empty, and the fields a real moment. */
static bool finish(const struct text *t, struct tm *tm, int64_t *ret)
{
    if (t->bad || t->at != t->end)
        return false;
    if (tm->tm_mday < 1 || tm->tm_mday > 31 || tm->tm_mon < 0 || tm->tm_mon > 11 || tm->tm_hour > 23 ||
        tm->tm_min > 59 || tm->tm_sec > 60)
        return false;

    int day = tm->tm_mday;

    *ret = (int64_t)timegm(tm);
    return tm->tm_mday == day || tm->tm_sec == 60; /* 31 June is refused */
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" and "Sunday, 06-Nov-94 08:49:37 GMT" */
static bool parse_comma(struct text t, int64_t *ret)
{
    struct tm tm = { 0 };

    t.at = memchr(t.at, ',', (size_t)(t.end - t.at));
    if (!t.at)
        return false;
    need(&t, ", ");
    tm.tm_mday = number(&t, 2);
    if (take(&t, "-")) {
        tm.tm_mon = month(&t);
        need(&t, "-");
        tm.tm_year = number(&t, 2);
        tm.tm_year += tm.tm_year < 70 ? 100 : 0;
    } else {
        need(&t, " ");
        tm.tm_mon = month(&t);
        need(&t, " ");
        tm.tm_year = number(&t, 4) - 1900;
    }
    need(&t, " ");
    clock_time(&t, &tm);
    if (!take(&t, " GMT") && !take(&t, " UTC"))
        need(&t, " +0000");
    return finish(&t, &tm, ret);
}

/* "Sun Nov  6 08:49:37 1994" */
static bool parse_asctime(struct text t, int64_t *ret)
{
    struct tm tm = { 0 };

    t.at += 3;
    need(&t, " ");
    tm.tm_mon = month(&t);
    need(&t, " ");
    tm.tm_mday = take(&t, " ") ? number(&t, 1) : number(&t, 2);
    need(&t, " ");
    clock_time(&t, &tm);
    need(&t, " ");
    tm.tm_year = number(&t, 4) - 1900;
    return finish(&t, &tm, ret);
}

static bool parse_iso(struct text t, int64_t *ret)
{
    struct tm tm = { 0 };

    tm.tm_year = number(&t, 4) - 1900;
    need(&t, "-");
    tm.tm_mon = number(&t, 2) - 1;
    need(&t, "-");
    tm.tm_mday = number(&t, 2);
    need(&t, "T");
    clock_time(&t, &tm);
    if (take(&t, "."))
        while (t.at < t.end && *t.at >= '0' && *t.at <= '9')
            t.at++;
    if (!take(&t, "Z"))
        need(&t, "+00:00");
    return finish(&t, &tm, ret);
}

static bool starts_with_day(struct text t)
{
    for (int i = 0; i < 7; i++) {
        struct text u = t;

        if (take(&u, long_days[i]) || take(&u, days[i]))
            return true;
    }
    return false;
}

bool wg_s3_date_parse(struct wg_str text, int64_t *ret_sec)
{
    struct text t = { text.s, text.s + text.len, false };

    if (text.len == 0 || text.len > 64)
        return false;
    if (!starts_with_day(t))
        return parse_iso(t, ret_sec);
    return memchr(text.s, ',', text.len) ? parse_comma(t, ret_sec) : parse_asctime(t, ret_sec);
}

bool wg_s3_date_parse_basic(struct wg_str text, int64_t *ret_sec)
{
    struct text t = { text.s, text.s + text.len, false };
    struct tm tm = { 0 };

    if (text.len != 16)
        return false;
    tm.tm_year = number(&t, 4) - 1900;
    tm.tm_mon = number(&t, 2) - 1;
    tm.tm_mday = number(&t, 2);
    need(&t, "T");
    tm.tm_hour = number(&t, 2);
    tm.tm_min = number(&t, 2);
    tm.tm_sec = number(&t, 2);
    need(&t, "Z");
    return finish(&t, &tm, ret_sec);
}
