# Completion of liege for bash. Made from the table of options.
_liege() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    case $prev in
        --man|--ini|--json|--yaml|--xml|--config|--include|--inherit|--emperor|--binary-path|--emperor-wrapper|--emperor-wrapper-override|--emperor-wrapper-fallback|--vassals-include|--vassals-include-before|--vassals-inherit|--vassals-inherit-before|--emperor-use-fork-server|--emperor-stats|--emperor-pidfile|--pidfile|--logto) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --get|--set|--set-ph|--print|--emperor-freq|--emperor-dir-grace|--emperor-extra-extension|--vassals-set|--vassals-start-hook|--vassals-stop-hook|--emperor-max-starting|--stage-timeout|--start-timeout|--ready-after|--emperor-throttle|--emperor-max-throttle|--emperor-throttle-burst|--emperor-loyal-after|--emperor-required-heartbeat|--emperor-curse-tolerance|--reload-mercy|--emperor-on-demand-extension|--vassal-fork-base|--procname|--listen) return ;;
        --emperor-keeper) mapfile -t COMPREPLY < <(compgen -W 'auto on off' -- "$cur"); return ;;
        --emperor-log-level) mapfile -t COMPREPLY < <(compgen -W 'error warning notice info debug' -- "$cur"); return ;;
    esac
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W '--help --help-all --version --check --show-config --show-config-json --get --man --ini --json --yaml --xml --config --include --inherit --set --set-ph --strict --print --exit --emperor --emperor-freq --emperor-dir-grace --emperor-nofollow --emperor-extra-extension --binary-path --emperor-wrapper --emperor-wrapper-override --emperor-wrapper-fallback --vassals-set --vassals-include --vassals-include-before --vassals-inherit --vassals-inherit-before --vassals-start-hook --vassals-stop-hook --emperor-force-config-pipe --emperor-max-starting --stage-timeout --start-timeout --ready-after --emperor-throttle --emperor-max-throttle --emperor-throttle-burst --emperor-no-blacklist --emperor-loyal-after --emperor-required-heartbeat --emperor-curse-tolerance --emperor-graceful-shutdown --reload-mercy --emperor-keeper --emperor-on-demand-extension --emperor-use-fork-server --vassal-fork-base --emperor-stats --stats-http --emperor-pidfile --pidfile --procname --emperor-log-level --logto --listen --chmod-socket' -- "$cur")
        return
    fi
    local commands=
    [[ $COMP_CWORD -eq 1 ]] && commands='check config init'
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur"; compgen -f -- "$cur")
}
complete -o filenames -F _liege liege
